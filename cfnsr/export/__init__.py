"""Networks for other programs: ONNX, `torch.export` and safetensors files that bring their preprocessing along.

`graph.py` makes the network exportable, `onnx.py` writes ONNX files and `smaller.py` their smaller variants,
`check.py` measures what a file says against PyTorch, `write.py` joins them.
"""
