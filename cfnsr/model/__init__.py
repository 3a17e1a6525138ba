"""The network: encoders, cross-modal block and the whole."""

from cfnsr.model.network import CFNSR, Output

__all__ = ["CFNSR", "Output"]
