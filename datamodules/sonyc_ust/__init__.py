"""SONYC-UST: the corpus, its releases, and the table of annotations."""

from datamodules.sonyc_ust.corpus import SonycClip, SonycUst

__all__ = ["SonycClip", "SonycUst"]
