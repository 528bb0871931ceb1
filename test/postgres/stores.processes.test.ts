import { testStore } from '../store-suite.ts'
import { SERVER_STORES } from './server-stores.ts'

for (const definition of SERVER_STORES) testStore(definition)
