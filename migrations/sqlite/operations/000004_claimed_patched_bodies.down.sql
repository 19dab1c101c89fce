-- What is marked is marked rightly for the code before it, too.
SELECT 1;
