"""Items as batches: data sets, pairs, samplers and loaders."""
