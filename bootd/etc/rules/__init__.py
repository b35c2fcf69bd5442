"""Pure rules of the merge: values in, values out."""
