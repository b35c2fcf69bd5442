# fish reads the completion of bootctl-py(8) from the program itself, when it is wanted first.
bootctl-py completion fish | source
