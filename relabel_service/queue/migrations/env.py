"""What alembic runs: the steps, on the connection that the caller gave."""

from alembic import context

from relabel_service.queue.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
context.run_migrations()
