import { STORES } from './fixtures/stores.ts'
import { testStore } from './store-suite.ts'

for (const definition of STORES) testStore(definition)
