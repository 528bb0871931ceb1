import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { fixture } from '../../fixtures/code.ts'
import { useFolder } from '../../fixtures/folder.ts'
import type { Answers } from '../../fixtures/lowdb-requests.ts'
import { fileOf } from '../../fixtures/lowdb-tools.ts'
import { newSeed, note } from '../../fixtures/random.ts'

interface Data {
  list: string[]
}

describe('read() of lowdb beside write() and update()', () => {
  const at = useFolder()

  async function pair() {
    const own = new LockedLow<Data>(at('db.json'), { list: [] })
    const other = new LockedLow<Data>(at('db.json'), { list: [] })
    await own.update(({ list }) => void list.push('first'))
    await other.read()
    return { own, other }
  }

  /** Runs while somebody else has the lock, who then adds a record. */
  async function whileOthersWrite(other: LockedLow<Data>, run: () => Promise<unknown>[]) {
    const held = await other.lock.acquire()
    const calls = run()
    await held.run(() => other.update(({ list }) => void list.push('theirs')))
    held.release()
    await Promise.all(calls)
  }

  it('a read that waits keeps edits that were made after it was called', async () => {
    const { own, other } = await pair()
    await whileOthersWrite(other, () => {
      const reading = own.read()
      own.data.list.push('mine')
      return [reading, own.write()]
    })
    assert.deepEqual(fileOf(at('db.json')), { list: ['first', 'theirs', 'mine'] })
    assert.deepEqual(own.data, fileOf(at('db.json')))
  })

  for (const how of ['write', 'update', 'transaction'] as const) {
    it(`a read that waits keeps edits that a later ${how} has taken`, async () => {
      const { own, other } = await pair()
      await whileOthersWrite(other, () => {
        own.data.list.push('mine')
        const reading = own.read()
        const writing =
          how === 'write'
            ? own.write()
            : how === 'update'
              ? own.update(({ list }) => void list.push('updated'))
              : own.transaction(({ data }) => void data.list.push('updated'))
        return [reading, writing]
      })
      const all = ['first', 'theirs', 'mine', ...(how === 'write' ? [] : ['updated'])]
      assert.deepEqual(fileOf(at('db.json')), { list: all })
      assert.deepEqual(own.data, { list: all })
    })
  }

  it('drops the edits that were there when it was called, and those alone', async () => {
    const { own, other } = await pair()
    await whileOthersWrite(other, () => {
      own.data.list.push('dropped')
      const reading = own.read()
      own.data.list.push('kept')
      return [reading]
    })
    assert.deepEqual(own.data, { list: ['first', 'theirs', 'kept'] })
    await own.write()
    assert.deepEqual(fileOf(at('db.json')), { list: ['first', 'theirs', 'kept'] })
  })

  it('a write owns the edits of the moment it is called: what is taken back later was written', async () => {
    const { own, other } = await pair()
    await whileOthersWrite(other, () => {
      own.data.list.push('mine')
      const writing = own.write()
      own.data.list.pop()
      return [writing]
    })
    assert.deepEqual(fileOf(at('db.json')), { list: ['first', 'theirs', 'mine'] })
    // To take it back is an edit of its own, which nobody has written.
    assert.deepEqual(own.data, { list: ['first'] })
  })

  it('where a read cannot keep the edits of a write that waits, that write is refused', async () => {
    const own = new LockedLow<{ n: number }>(at('n.json'), { n: 0 })
    const other = new LockedLow<{ n: number }>(at('n.json'), { n: 0 })
    await own.update((data) => void data.n++)
    const held = await other.lock.acquire()
    own.data.n = 5
    const reading = own.read()
    const writing = own.write().then(
      () => 'written',
      (error: { code: string }) => error.code,
    )
    await held.run(() => other.update((data) => void Object.assign(data, { n: 7 })))
    held.release()
    await reading
    assert.equal(await writing, 'PSLOCK_STALE_WRITE')
    await own.read()
    assert.equal(own.data.n, 7)
    assert.deepEqual(fileOf(at('n.json')), { n: 7 })
  })

  it('4 processes that answer 150 requests at once lose nothing they acknowledged', async () => {
    const seed = newSeed()
    const crew = [0, 1, 2, 3].map((index) =>
      fork(fixture('lowdb-requests'), [at('db.json'), String(index), '150', String(seed + index)]),
    )
    const answers = await Promise.all(
      crew.map(async (child) => {
        const [[answer]] = await Promise.all([once(child, 'message'), once(child, 'exit')])
        return answer as Answers
      }),
    )
    const acknowledged = answers.flatMap((answer) => answer.acknowledged)
    const refused = answers.flatMap((answer) => answer.refused)
    note(`seed ${seed}: ${acknowledged.length} acknowledged, ${refused.length} refused`)
    const { list, records } = fileOf<{ list: string[]; records: { id: string }[] }>(at('db.json'))
    const found = [...list, ...records.map(({ id }) => id)]
    assert.deepEqual(
      acknowledged.filter((id) => !found.includes(id)),
      [],
      'acknowledged, and not in the file',
    )
    assert.equal(new Set(found).size, found.length, 'nothing is there twice')
    assert.deepEqual(refused, [], 'nothing here stands against anything else')
  })
})
