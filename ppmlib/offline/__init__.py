"""Studies without a network: a data root, filled where there is one and checked where there is not.

data_root      the folder from which a study runs
prefetch       fill it: one commit each, hashes checked
check          whether everything a study needs loads with the network off
dataset_files  which files of a hub data set its configurations name
nltk_data      one resource of nltk's from a folder or an index of its packages
hub            what the hub answers when it refuses, in one line
"""
