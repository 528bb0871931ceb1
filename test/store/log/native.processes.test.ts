import assert from 'node:assert/strict'
import {
  appendFileSync,
  closeSync,
  openSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { PsLock } from '../../../src/lock/lock.ts'
import { bindingName } from '../../../src/os/flock.ts'
import { type Native, native } from '../../../src/os/native.ts'
import { IS_STRAIGHT } from '../../../src/store/pipeline.ts'
import { Peer, runTool, seenByVanilla, temporaryFolder, warnings } from '../../fixtures/nedb-tools.ts'

const addon = native()

/** What an operation does to its files in one native call is what TypeScript does in many. */
describe('the addon', () => {
  const file = temporaryFolder()
  const warned = warnings()

  it('is there where it is insisted on', function () {
    if (process.env.PSLOCK_BINDING !== 'native') return this.skip()
    assert.ok(addon)
    assert.equal(bindingName(), 'native')
  })

  if (!addon || !IS_STRAIGHT) {
    console.log(
      '      skipped: @pslock/native is not built (npm run build -w native), PSLOCK_BINDING is another, or the straight path is off',
    )
    return
  }

  /** A store that has taken the straight path already, so that its files are open. */
  const open = async () => {
    const db = new LockedNedb<{ _id: string; n?: number }>({ filename: file('a.db'), autoload: true })
    await db.insertAsync({ _id: 'first', n: 0 })
    await db.updateAsync({ _id: 'first' }, { $inc: { n: 1 } })
    return db
  }

  /** How often the addon has answered DONE or NEWS to these calls while something ran. */
  async function done(run: () => Promise<unknown>): Promise<number> {
    const own = addon as Native
    const { append, begin } = own
    let count = 0
    const counting =
      <Args extends unknown[]>(call: (...args: Args) => number) =>
      (...args: Args) => {
        const answer = call(...args)
        if (answer >= 0) count++
        return answer
      }
    own.append = counting(append)
    own.begin = counting(begin)
    try {
      await run()
    } finally {
      Object.assign(own, { append, begin })
    }
    return count
  }

  it('does inserts, updates and removals by _id', async () => {
    await using db = await open()
    assert.equal(await done(() => db.insertAsync({ n: 1 } as never)), 1)
    assert.equal(await done(() => db.updateAsync({ _id: 'first' }, { $inc: { n: 1 } })), 1)
    assert.equal(await done(() => db.removeAsync({ _id: 'first' }, {})), 1)
    assert.equal((await seenByVanilla(file('a.db'))).length, 1)
  })

  it('takes in what others wrote, and pads units as TypeScript does', async () => {
    await using db = await open()
    const other = await Peer.start(
      'locked',
      { filename: file('a.db'), autoload: true },
      { PSLOCK_BINDING: '' },
    )
    for (let n = 0; n < 200; n++) {
      await other.call('updateAsync', { _id: 'first' }, { $inc: { n: 1 } }, {})
      await db.updateAsync({ _id: 'first' }, { $inc: { n: 1 } })
      await db.insertAsync({ pad: 'é'.repeat(n) } as never)
    }
    assert.equal((await db.findOneAsync({ _id: 'first' }))?.n, 401)
    const text = readFileSync(file('a.db'))
    let at = 0
    for (const line of text.toString('latin1').split('\n')) {
      if (line !== '' && line.length + 1 <= 4096) {
        assert.equal(Math.floor(at / 4096), Math.floor((at + line.length) / 4096), 'a unit crosses a block')
      }
      at += line.length + 1
    }
    assert.equal((await seenByVanilla(file('a.db'))).length, 201)
  })

  it('excludes processes that do without it, and is excluded by them', async function () {
    this.timeout(60_000)
    await using db = await open()
    const bindings = ['native', 'koffi', 'native', 'koffi']
    const peers = await Promise.all(
      bindings.map((PSLOCK_BINDING) =>
        Peer.start('locked', { filename: file('a.db'), autoload: true }, { PSLOCK_BINDING }),
      ),
    )
    const calls = Array.from({ length: 250 }, () => ['updateAsync', { _id: 'first' }, { $inc: { n: 1 } }, {}])
    await Promise.all(peers.map((peer) => peer.call('inTurn', ...calls)))
    assert.equal((await db.findOneAsync({ _id: 'first' }))?.n, 1 + 4 * 250)
    assert.deepEqual(
      (await seenByVanilla(file('a.db'))).map(({ n }) => n),
      [1001],
    )
  })

  it('leaves to TypeScript what is odd, and both find the same', async () => {
    await using db = await open()
    // A torn end, as a crash leaves it.
    appendFileSync(file('a.db'), '{"_id":"torn"')
    await db.insertAsync({ _id: 'second' })
    // A warning comes in the next tick.
    await new Promise((turned) => setImmediate(turned))
    assert.deepEqual(
      warned().map(({ code }) => code),
      ['PSLOCK_TORN_TAIL'],
    )
    // Edited in place, with the same length.
    const text = readFileSync(file('a.db'), 'utf8')
    const fd = openSync(file('a.db'), 'r+')
    writeSync(fd, '8', text.lastIndexOf('"n":1') + 4)
    closeSync(fd)
    utimesSync(file('a.db'), new Date(), new Date(statSync(file('a.db')).mtimeMs + 50))
    await db.updateAsync({ _id: 'first' }, { $inc: { n: 1 } })
    assert.equal((await db.findOneAsync({ _id: 'first' }))?.n, 9)
    // Replaced by another file.
    writeFileSync(file('b.db'), '{"_id":"other","n":5}\n')
    assert.ok(runTool('mv', file('b.db'), file('a.db')))
    await db.updateAsync({ _id: 'other' }, { $inc: { n: 1 } })
    assert.deepEqual(await seenByVanilla(file('a.db')), [{ _id: 'other', n: 6 }])
    // An index that was made elsewhere.
    const other = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    await other.call('ensureIndexAsync', { fieldName: 'n', unique: true })
    await assert.rejects(db.insertAsync({ _id: 'third', n: 6 }), { errorType: 'uniqueViolated' })
  })

  it('waits where the lock is held, for so long as the store allows', async () => {
    await using db = await open()
    const peer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    await using hasty = new LockedNedb<{ _id: string }>({
      filename: file('a.db'),
      autoload: true,
      timeoutMs: 60,
    })
    await hasty.insertAsync({ _id: 'hasty' })
    // Its next one takes the straight path.
    for (const _id of ['one', 'two']) await peer.call('insertAsync', { _id })
    const held = await new PsLock(file('a.db')).acquire()
    const waiting = peer.call('insertAsync', { _id: 'waited' })
    const since = performance.now()
    await assert.rejects(hasty.insertAsync({ _id: 'late' }), { name: 'LockTimeoutError' })
    assert.ok(performance.now() - since < 2_000)
    assert.doesNotMatch(readFileSync(file('a.db'), 'utf8'), /waited/)
    held.release()
    await waiting
    assert.ok(await db.findOneAsync({ _id: 'waited' }))
  })

  it('keeps the order in which operations were issued while one waits', async () => {
    await using db = await open()
    const peer = await Peer.start('locked', { filename: file('a.db'), autoload: true })
    for (let n = 0; n < 20; n++) {
      const busy = peer.call('inTurn', ...Array.from({ length: 20 }, () => ['insertAsync', {}]))
      const all = Promise.all([
        db.insertAsync({ _id: `own${n}`, n: 0 }),
        db.updateAsync({ _id: `own${n}` }, { $inc: { n: 1 } }),
        db.findOneAsync({ _id: `own${n}` }).then((found) => found?.n),
      ])
      assert.equal((await all)[2], 1)
      await busy
    }
  })
})
