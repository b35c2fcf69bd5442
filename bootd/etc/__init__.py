"""The three-way merge of /etc: compare, decide, apply, report."""
