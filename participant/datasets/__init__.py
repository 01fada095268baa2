"""Tables in files, and the columns that a job needs of them."""
