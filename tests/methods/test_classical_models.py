"""Every model against its definition: by hand, by another solver, or by scikit-learn's own scoring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sklearn.decomposition
import sklearn.ensemble
import sklearn.neighbors
import sklearn.svm
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from unremarkable.methods.classical.kernels import SVDD, SVM, Kernel, OneClassSVM
from unremarkable.methods.classical.models import IsolationForest, Model, Neighbours, Subspace

RBF = Kernel("rbf", 0.7, 3)
MODELS: dict[str, Callable[[], Model]] = {
    "one-class-svm": lambda: OneClassSVM(RBF, 0.2),
    "svdd": lambda: SVDD(RBF, 0.2),
    "svdd-linear": lambda: SVDD(Kernel("linear", 1, 1), 0.2),
    "svm": lambda: SVM(RBF, 1.0),
    "knn": lambda: Neighbours(5),
    "pca": lambda: Subspace(0.8),
    "isolation-forest": lambda: IsolationForest(20, 64),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def points(count: int, seed: int = 0, dimensions: int = 4) -> Tensor:
    scales = torch.linspace(1, 0.3, dimensions)
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) * scales


def learned(model: Model, x: Tensor, abnormal: Tensor | None = None) -> Model:
    torch.manual_seed(0)
    if abnormal is None:
        abnormal = (torch.arange(len(x)) % 3 == 0).float() if isinstance(model, SVM) else torch.zeros(len(x))
    model.learn(x, abnormal)
    return model


def scores(model: Model, x: Tensor) -> NDArray[np.float64]:
    found = model(x)
    assert found.dtype == torch.float64
    return np.asarray(found.numpy())


# --- kernel machines ---


@pytest.mark.parametrize("nu", [0.02, 0.1, 0.5])
def test_one_class_svm_is_scikit_learns(nu: float) -> None:
    normals, others = points(80), points(30, 1)
    oracle = sklearn.svm.OneClassSVM(nu=nu, gamma=0.7, tol=1e-8).fit(normals.double().numpy())
    expected = -oracle.decision_function(others.double().numpy()) / oracle.dual_coef_.sum()
    found = learned(OneClassSVM(RBF, nu), normals)
    np.testing.assert_allclose(scores(found, others), expected, atol=1e-5)
    assert (scores(found, normals) > 1e-5).mean() <= nu


def test_svm_is_scikit_learns() -> None:
    images, others = points(60), points(30, 1)
    labels = (torch.arange(60) % 4 == 0).float()
    images[labels == 1] += 0.8
    oracle = sklearn.svm.SVC(C=2.0, gamma=0.7, class_weight="balanced", tol=1e-8)
    oracle.fit(images.double().numpy(), labels.int().numpy())
    expected = oracle.decision_function(others.double().numpy())
    found = learned(SVM(RBF, 2.0), images, labels)
    np.testing.assert_allclose(scores(found, others), expected, atol=1e-4)
    assert scores(found, images[labels == 1]).mean() > scores(found, images[labels == 0]).mean()


def test_svdd_of_two_points_is_the_circle_through_them() -> None:
    """Centre (1, 0), radius 1: a score is the squared distance from the centre, less 1."""
    found = learned(SVDD(Kernel("linear", 1, 1), 0.5), torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    at = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [4.0, 0.0]])
    np.testing.assert_allclose(scores(found, at), [0, -1, 3, 8], atol=1e-5)


def test_svdd_of_an_acute_and_an_obtuse_triangle() -> None:
    acute = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 2.0]])  # all three on the circle about (1, 3/4), R 5/4
    obtuse = torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 1.0]])  # the longest side is the diameter
    linear = Kernel("linear", 1, 1)
    at = torch.tensor([[1.0, 0.75], [3.0, 0.75]])
    np.testing.assert_allclose(scores(learned(SVDD(linear, 1 / 3), acute), at), [-25 / 16, 4 - 25 / 16], atol=1e-5)
    np.testing.assert_allclose(
        scores(learned(SVDD(linear, 1 / 3), obtuse), at), [1 + 9 / 16 - 4, 1 + 9 / 16 - 4], atol=1e-5
    )


@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly"])
def test_svdd_solves_tax_and_duins_dual(kernel: str) -> None:
    """Their equations 6 to 10, given to a general solver as they stand."""
    normals, others = points(15), points(10, 1)
    nu, gamma, degree = 0.3, 0.7, 2

    def k(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        if kernel == "rbf":
            return np.exp(-gamma * ((a[:, None] - b) ** 2).sum(2))
        return a @ b.T if kernel == "linear" else (gamma * a @ b.T + 1) ** degree

    x, z = normals.double().numpy(), others.double().numpy()
    gram, c = k(x, x), 1 / (nu * 15)
    result = minimize(
        lambda a: a @ gram @ a - a @ gram.diagonal(),
        np.full(15, 1 / 15),
        jac=lambda a: 2 * gram @ a - gram.diagonal(),
        bounds=[(0, c)] * 15,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    alphas = result.x
    inside = (alphas > 1e-3 * c) & (alphas < 0.999 * c)
    assert inside.any()

    def distance(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return k(points, points).diagonal() - 2 * k(points, x) @ alphas + alphas @ gram @ alphas

    expected = distance(z) - distance(x[inside]).mean()
    found = learned(SVDD(Kernel(kernel, gamma, degree), nu), normals)  # type: ignore[arg-type]
    np.testing.assert_allclose(scores(found, others), expected, atol=1e-4 * np.abs(expected).max())


def test_svdd_with_the_rbf_kernel_is_the_one_class_svm() -> None:
    normals, others = points(80), points(30, 1)
    one, other = learned(OneClassSVM(RBF, 0.2), normals), learned(SVDD(RBF, 0.2), normals)
    np.testing.assert_allclose(scores(other, others), 2 * scores(one, others), atol=1e-5)


def test_a_share_nu_at_most_lies_outside_of_svdd() -> None:
    normals = points(100)
    for kernel in (RBF, Kernel("linear", 1, 1), Kernel("poly", 1, 3)):
        found = scores(learned(SVDD(kernel, 0.1), normals), normals)
        assert (found > 1e-4 * np.ptp(found)).mean() <= 0.1


# --- the others ---


def test_neighbours_by_hand_and_by_scikit_learn() -> None:
    line = learned(Neighbours(2), torch.tensor([[0.0], [1.0], [5.0]]))
    np.testing.assert_allclose(scores(line, torch.tensor([[2.0], [5.0]])), [1.5, 2])
    normals, others = points(50), points(20, 1)
    oracle = sklearn.neighbors.NearestNeighbors(n_neighbors=5).fit(normals.numpy())
    np.testing.assert_allclose(
        scores(learned(Neighbours(5), normals), others), oracle.kneighbors(others.numpy())[0].mean(1), rtol=1e-5
    )


def test_fewer_vectors_than_neighbours() -> None:
    found = learned(Neighbours(5), torch.tensor([[0.0], [1.0]]))
    np.testing.assert_allclose(scores(found, torch.tensor([[2.0]])), [1.5])


@pytest.mark.parametrize(("count", "dimensions"), [(60, 8), (20, 50)])
@pytest.mark.parametrize("variance", [0.5, 0.95])
def test_subspace_is_scikit_learns(count: int, dimensions: int, variance: float) -> None:
    normals, others = points(count, dimensions=dimensions), points(10, 1, dimensions)
    oracle = sklearn.decomposition.PCA(variance, svd_solver="full").fit(normals.double().numpy())
    rebuilt = oracle.inverse_transform(oracle.transform(others.double().numpy()))
    found = learned(Subspace(variance), normals)
    assert found.components.shape == oracle.components_.shape  # type: ignore[union-attr, operator]
    np.testing.assert_allclose(scores(found, others), np.linalg.norm(others.numpy() - rebuilt, axis=1), rtol=1e-5)


def test_subspace_by_hand() -> None:
    """Normals along (1, 1) from (0, 1): what counts is the distance from that line."""
    normals = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]])
    found = learned(Subspace(1.0), normals)
    at = torch.tensor([[5.0, 6.0], [1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(scores(found, at), [0, 2**0.5, 2**0.5], atol=1e-6)


@pytest.mark.parametrize("count", [3, 40, 200])
def test_isolation_forest_is_scikit_learns(count: int) -> None:
    normals, others = points(count), points(50, 1) * 2
    found = learned(IsolationForest(25, 64), normals)
    seed = int(torch.randint(2**31 - 1, (), generator=torch.Generator().manual_seed(0)))
    oracle = sklearn.ensemble.IsolationForest(n_estimators=25, max_samples=min(64, count), random_state=seed)
    oracle.fit(normals.numpy())
    np.testing.assert_allclose(scores(found, others), -oracle.score_samples(others.numpy()), rtol=1e-6)
    np.testing.assert_allclose(scores(found, normals), -oracle.score_samples(normals.numpy()), rtol=1e-6)


# --- all of them ---


@every_model
def test_rows_do_not_know_of_each_other(make: Callable[[], Model]) -> None:
    found = learned(make(), points(60))
    others = torch.cat([points(20, 1), points(60)[:5]])
    np.testing.assert_allclose(
        np.concatenate([scores(found, row) for row in others.split(1)]), scores(found, others), rtol=1e-10, atol=1e-7
    )


@every_model
def test_far_away_is_more_anomalous(make: Callable[[], Model]) -> None:
    normals = points(60)
    abnormal = torch.zeros(60)
    model = make()
    if isinstance(model, SVM):
        normals[:20] += 4
        abnormal[:20] = 1
    learned(model, normals, abnormal)
    assert scores(model, points(20, 1) + 4).min() > np.median(scores(model, points(20, 1)))


@every_model
def test_vectors_that_are_all_alike(make: Callable[[], Model]) -> None:
    found = learned(make(), torch.ones(12, 4))
    assert np.isfinite(scores(found, points(5))).all()


@every_model
def test_all_that_is_learned_is_in_small_buffers(make: Callable[[], Model]) -> None:
    found = learned(make(), points(60))
    state = found.state_dict()
    assert {value.dtype for value in state.values()} <= {torch.float32, torch.int32}
    again = make()
    for name, value in state.items():
        setattr(again, name, value.clone())
    np.testing.assert_array_equal(scores(again, points(10, 1)), scores(found, points(10, 1)))
