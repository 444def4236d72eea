"""classical: hand-made features with classical models of what is normal."""

from unremarkable.methods.classical.method import Classical, ClassicalOptions

__all__ = ["Classical", "ClassicalOptions"]
