"""Films, read and written by PyAV (the libraries of ffmpeg): one film at a time, no dataset.

`reel` opens one, `facts` says what it is and what is wrong with it, `playback` finds frames by
their times, `chosen` says which are taken, `upright` makes pictures of them. `sniff` tells a film
by its first bytes. Nothing is imported here: a server that only sniffs needs none of the others.
"""
