"""The cheapest step whose lower bound clears your target, and what it costs."""

__version__ = "0.1.0"
