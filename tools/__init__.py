"""What is made of the project: its release and the pages of its documentation. Nothing here is installed."""
