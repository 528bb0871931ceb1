import assert from 'node:assert/strict'
import { testStages } from '../features/stages/suite.ts'
import { STAGED_KINDS } from '../fixtures/staged-stores.ts'
import { rowsOf, useServerStores } from './server-stores.ts'

describe('stages on a server', () => {
  const place = useServerStores()
  // There it always has one.
  const kinds = STAGED_KINDS.filter(({ name }) => name !== 'lowdb with a journal')
  for (const kind of kinds) testStages(kind, () => place.path('store'))

  it('they are beside the store in the same database, and the mark of the commit is gone', async () => {
    const store = await STAGED_KINDS[0]!.open(place.path('store'))
    const stage = await store.stage('session')
    await stage.insert({ _id: 'apple', price: 1 })
    const beside = `${place.path('store')}.stages`
    assert.equal((await rowsOf(place.server(), beside)).length, 2)
    assert.equal((await rowsOf(place.server(), place.path('store'))).length, 0)
    await stage.commit()
    assert.equal((await rowsOf(place.server(), beside)).length, 1)
    const rows = await rowsOf(place.server(), place.path('store'))
    assert.deepEqual(
      rows.map(({ line }) => JSON.parse(line)),
      [{ _id: 'apple', price: 1 }],
    )
    await store.close()
  })
})
