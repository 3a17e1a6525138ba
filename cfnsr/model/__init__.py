"""The network: encoders, cross-modal block and the whole."""

from cfnsr.model.network import CFNSR, NetworkArguments, Output

__all__ = ["CFNSR", "NetworkArguments", "Output"]
