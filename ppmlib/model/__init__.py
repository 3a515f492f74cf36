"""The model: its GLU MLPs, its weights, its folder, the device.

models         load a model and its tokenizer from the package, a folder or the hub
gguf_source    a GGUF file, dequantised once into a folder
hashes         what identifies its weights, config, tokenizer and generation settings
checkpoint     checks of a model's folder, read without torch
layouts        how families name, and fuse, gate, up and down
glu            find the GLU MLPs; widths, expansion ratio, parameter counts
random_shapes  models of a published shape with random weights, for time and energy
quiet          contexts in which libraries neither log nor draw bars
device         what the device is and can do
"""
