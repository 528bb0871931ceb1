import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { LockedLow } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { usePostgres } from '../harness/postgres.ts'

describe('stores on a server whose data are replaced by an older copy', () => {
  const server = usePostgres({ own: true })

  it('are read anew by whoever has them open', async function () {
    this.timeout(60_000)
    const url = await server().database()
    const opened = () => ({
      records: new LockedNedb<{ _id: string; n: number }>({ url, name: 'records', autoload: true }),
      text: new LockedLow({ url, name: 'text' }, { n: 0 }),
    })
    const first = opened()
    const write = async ({ records, text }: typeof first, n: number) => {
      await records.updateAsync({ _id: 'a' }, { $set: { n } }, { upsert: true })
      await text.update((data) => {
        data.n = n
      })
    }
    await write(first, 1)
    const data = join(server().folder, 'data')
    await server().stop('fast')
    execFileSync('cp', ['-a', data, `${data}-before`])
    await server().start()
    await write(first, 2)
    await first.records.insertAsync({ _id: 'later', n: 0 })
    await server().stop('fast')
    execFileSync('rm', ['-rf', data])
    execFileSync('mv', [`${data}-before`, data])
    await server().start()
    const second = opened()
    await write(second, 3)
    for (let i = 0; i < 20; i++) await server().sql('select pg_current_xact_id()', url)
    await first.records.updateAsync({ _id: 'a' }, { $inc: { n: 1 } }, {})
    await first.text.read()
    assert.deepEqual(await first.records.findAsync({}), [{ _id: 'a', n: 4 }])
    assert.deepEqual(first.text.data, { n: 3 })
    for (const { records, text } of [first, second]) await Promise.all([records.close(), text.close()])
  })
})
