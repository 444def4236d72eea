"""Kernel machines over feature vectors: one-class SVM, SVDD, and the supervised SVM.

scikit-learn's libsvm solves their quadratic programs on the matrix of kernel values; scoring needs only the support
vectors that it leaves, with their weights.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unremarkable.methods.classical.models import Model, on_processor, squared_distances

KernelName = Literal["rbf", "linear", "poly"]
#: how far from optimal a solution may be, in the unit of the kernel; libsvm's own 1e-3 shows in scores
_TOLERANCE = 1e-6


class Kernel:
    """exp(-gamma |a - b|^2), a.b, or (gamma a.b + 1)^degree."""

    def __init__(self, name: KernelName, gamma: float, degree: int) -> None:
        self._name, self._gamma, self._degree = name, gamma, degree

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """`(N, n)` of the rows of float64 `a` and `b`."""
        if self._name == "rbf":
            return torch.exp(-self._gamma * squared_distances(a, b))
        return self._of_products(a @ b.T)

    def of_itself(self, a: Tensor) -> Tensor:
        """`(N,)`: every row with itself."""
        return torch.ones(len(a), dtype=a.dtype) if self._name == "rbf" else self._of_products(a.square().sum(1))

    def _of_products(self, products: Tensor) -> Tensor:
        return products if self._name == "linear" else (self._gamma * products + 1) ** self._degree


class KernelMachine(Model):
    """A score that is a weighted sum of kernel values with the support vectors, plus an offset."""

    vectors: Tensor
    weights: Tensor
    offset: Tensor

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("vectors", "weights", "offset")
        self._kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """Scores `(N,)`."""
        values = self._kernel.between(x.double(), on_processor(self.vectors))
        return values @ on_processor(self.weights) + on_processor(self.offset)

    def _keep(self, vectors: Tensor, weights: NDArray[np.float64], offset: float) -> None:
        self.vectors = vectors.clone()
        self.weights, self.offset = torch.from_numpy(weights).float(), torch.tensor(offset).float()


class OneClassSVM(KernelMachine):
    """rho - sum a_i k(x_i, x), with the a_i summing to 1 (Schoelkopf et al., 2001, eq. 10).

    At most a share `nu` of the normals lies above 0.
    """

    def __init__(self, kernel: Kernel, nu: float) -> None:
        super().__init__(kernel)
        self._nu = nu

    def learn(self, x: Tensor, abnormal: Tensor) -> None:
        """Solve for the a_i on the n x n kernel values."""
        values = self._kernel.between(x.double(), x.double())
        support, alphas, rho = _one_class(values.numpy(), self._nu)
        self._keep(x[support], -alphas, rho)


class SVDD(KernelMachine):
    """Squared distance from the centre of the smallest soft ball around the normals, less its squared radius.

    Tax and Duin (2004), eq. 9 to 11, with any kernel; C = 1 / (nu n), so that at most a share `nu` lies outside.
    """

    def __init__(self, kernel: Kernel, nu: float) -> None:
        super().__init__(kernel)
        self._nu = nu

    def learn(self, x: Tensor, abnormal: Tensor) -> None:
        """Solve for the a_i on the n x n kernel values.

        The dual maximises sum a_i k_ii - sum a_i a_j k_ij over a_i in [0, C] with sum 1. Because of that sum,
        sum a_i k_ii = sum a_i a_j (k_ii + k_jj) / 2, which makes it the one-class SVM's program on
        q_ij = k_ij - (k_ii + k_jj) / 2: minus half the squared distance. That is positive semi-definite only along
        directions that keep the sum, and others a solution cannot take.
        """
        wide = x.double()
        itself = self._kernel.of_itself(wide)
        half = (itself[:, None] + itself) / 2 - self._kernel.between(wide, wide)
        # In units of their mean, so that the solver's tolerance means the same for every kernel.
        unit = max(float(half.mean()), torch.finfo(torch.float64).tiny)
        support, alphas, margin = _one_class(-half.div_(unit).numpy(), self._nu)
        # On the sphere sum_j a_j q_ij is the margin, and |x - centre|^2 - R^2 = 0 there gives the constant.
        self._keep(x[support], -2 * alphas, float(itself[support] @ torch.from_numpy(alphas)) + 2 * margin * unit)

    def forward(self, x: Tensor) -> Tensor:
        """Scores `(N,)`, in squared units of the kernel's feature space; above 0 is outside the ball."""
        return self._kernel.of_itself(x.double()) + super().forward(x)


class SVM(KernelMachine):
    """The supervised support vector machine (Cortes and Vapnik, 1995): its decision value, above 0 abnormal.

    Each class counts as much as the other, however many images it has.
    """

    def __init__(self, kernel: Kernel, c: float) -> None:
        super().__init__(kernel)
        self._c = c

    def learn(self, x: Tensor, abnormal: Tensor) -> None:
        """Solve on the n x n kernel values; both classes must be there."""
        from sklearn.svm import SVC

        values = self._kernel.between(x.double(), x.double())
        solver = SVC(C=self._c, kernel="precomputed", class_weight="balanced", tol=_TOLERANCE)
        solver.fit(values.numpy(), abnormal.int().numpy())
        self._keep(x[solver.support_], solver.dual_coef_[0], float(solver.intercept_[0]))


def _one_class(values: NDArray[np.float64], nu: float) -> tuple[NDArray[np.intp], NDArray[np.float64], float]:
    """Minimise a'Qa over a_i in [0, 1 / (nu n)] with sum 1: support indices, their a_i, and Qa where a_i is between."""
    from sklearn.svm import OneClassSVM as Solver

    solver = Solver(kernel="precomputed", nu=nu, tol=_TOLERANCE).fit(values)
    total = solver.dual_coef_[0].sum()  # libsvm's own sum to nu n
    return solver.support_.astype(np.intp), solver.dual_coef_[0] / total, float(-solver.intercept_[0] / total)
