DROP TABLE rings;
