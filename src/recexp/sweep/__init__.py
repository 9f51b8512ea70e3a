"""Studies: many trials of one experiment, by Optuna, that prune, resume and survive.

A command is a supervisor with workers. Workers claim trials, launch one job at a time, and tell the study how it ended;
jobs report to the study while they train. They meet in the study's storage and nowhere else, so any number of
processes and machines may run the same command.
"""
