"""Whose turn it is: a tree of fair queues, and the lines before gates in which some of its nodes stand meanwhile.

root -> class of priority -> tenant -> function -> leaf        (each inner node is one fair queue of its children)
"""
