"""The workspace as it is kept: what of it goes into archives and versions, how it leaves and comes back.

The agent can plant anything in its workspace, and an archive may come from anywhere: all of this is code that
takes hostile input. Names that are not UTF-8 are texts with surrogates (`os.fsdecode`) throughout.
"""
