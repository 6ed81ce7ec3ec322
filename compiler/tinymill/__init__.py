"""tinymill: a deep-learning compiler for microcontrollers."""

__version__ = "0.1.0"
