"""The evidence that takes hours: an ordered list of searches, one after another, that goes on where it was ended.

    python -m benchmarks.campaign --list     what is done, what is left, and how many core-hours that may take
    python -m benchmarks.campaign            run on, at the lowest priority and on one core; end it at any moment

Each search writes, through the one search loop, the trial log that its notebook reads: a notebook that is run later
finds it finished. Nothing is needed but what is committed; a trial that was ended half-way is trained again.
"""
