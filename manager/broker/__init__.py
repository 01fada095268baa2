"""The RabbitMQ broker as the manager sees it: a private node and the admin API."""
