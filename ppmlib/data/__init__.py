"""Where models and data sets are read from.

data_root  the folder from which a study runs without a network
hub        what the hub answers when it refuses, in one line
"""
