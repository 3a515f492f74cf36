"""A data root: filled where there is a network, checked where there is none.

prefetch       fill it: one commit each, hashes checked
check          whether everything a study needs loads with the network off
dataset_files  which files of a hub data set its configurations name
nltk_data      one resource of nltk's from a folder or an index of its packages
"""
