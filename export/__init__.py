"""From recorded events to one ONNX file that is the whole detector. The only package that imports torch."""
