"""Documents as text for people; pure functions of a document and a style."""
