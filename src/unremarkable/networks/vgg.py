"""VGG-16: the convolutional part in plain torch, with torchvision's parameter names.

Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015, table 1, configuration D.
"""

from __future__ import annotations

from torch import Tensor, nn

VARIANTS = {"vgg16": ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))}


class VGG(nn.Module):
    """Features after the last ReLU before each pooling (relu1_2 to relu5_3), at strides 1, 2, 4, 8 and 16.

    Built only as deep as the first `depth` stages need. Input is `(N, 3, H, W)`, already normalised.
    """

    #: parameters of the published file that belong to the classifier, not to the trunk
    HEAD = ("classifier.",)
    STRIDES = (1, 2, 4, 8, 16)
    MEAN = (0.485, 0.456, 0.406)
    STD = (0.229, 0.224, 0.225)

    def __init__(self, name: str, depth: int = 5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self._ends: list[int] = []
        inputs = 3
        for stage, (outputs, convolutions) in enumerate(VARIANTS[name][:depth]):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            self._ends.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        self.channels = tuple(outputs for outputs, _ in VARIANTS[name][:depth])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Every stage that was built, fine to coarse."""
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._ends:
                features.append(x)
        return features
