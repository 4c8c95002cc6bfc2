"""The verl plug-in: trainer mode ``sent``, loaded through verl's entry points. Nothing here is imported before verl is.

The driver treats the tokens of the whole step (`trainer`), every worker adds the token-weighted KL to verl's own loss (`loss`), the
curriculum is a sampler with a state (`curriculum`), and `reward` is the grader of the evaluation.
"""
