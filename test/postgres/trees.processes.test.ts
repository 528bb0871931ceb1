import { TREE_AND_TEXT_ON_SERVER } from '../fixtures/stores.ts'
import { usePostgres } from '../harness/postgres.ts'
import { testStore } from '../store-suite.ts'

describe('on a server', () => {
  const server = usePostgres()
  before(async () => {
    process.env.PSLOCK_TEST_STORES = await server().database()
  })
  for (const definition of TREE_AND_TEXT_ON_SERVER) testStore(definition)
})
