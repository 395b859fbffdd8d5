"""What the exit status of a command says."""

DONE, USER_ERROR, PARTLY_DONE = 0, 2, 3
