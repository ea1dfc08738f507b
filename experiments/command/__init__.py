"""The command behind train.py: its parser, the run's folder, its checkpoints."""
