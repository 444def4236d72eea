"""Published methods, one a file, behind one contract (`base.Method`), found by name (`registry`)."""

from unremarkable.methods.registry import make_options, method_class, method_names

__all__ = ["make_options", "method_class", "method_names"]
