"""How codes and indexes lie on disk, and what can be told of them without torch and faiss."""
