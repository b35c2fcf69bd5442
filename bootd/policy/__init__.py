"""When something that nobody asks for may be done: gates, each of which answers for one thing.

The rules are functions from values to answers; beside each is the eye that looks for what it needs.
"""
