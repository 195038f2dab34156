"""Sweeps: several trainings that differ in some keys of the training config.

::

    space      what a sweep tries, and what is wrong with it
    sampling   the trials, drawn by optuna
    rungs      how long each trial trains, and which go on
    trials     one trial: its directory, its training, its metrics
    results    what is known of all trials

The stages layer drives it: a run with a sweep is a run whose train stage tries several configs, and everything after
that stage works on the best one.
"""
