"""Jati and Emmanouilidou, Supervised deep hashing for efficient audio event retrieval, 2020."""
