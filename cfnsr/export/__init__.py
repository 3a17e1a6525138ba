"""Networks for other programs: ONNX, `torch.export` and safetensors files that include their preprocessing.

`graph.py` makes the network exportable, `onnx.py` converts it to ONNX, `quantize.py` makes smaller variants, `check.py`
compares a file with PyTorch, and `write.py` combines them.
"""
