"""Fan et al., Multi-label sound event retrieval using a Siamese structure, 2020."""
