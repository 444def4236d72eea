"""Torch modules that more than one method uses: pretrained backbones and where their weights come from."""
