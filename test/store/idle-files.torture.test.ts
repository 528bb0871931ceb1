import assert from 'node:assert/strict'
import {
  appendFileSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { JSONFile, JSONFileSync, LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { closeIdleFiles } from '../../src/os/open-files.ts'
import { LogFile } from '../../src/store/log/log-file.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsThere } from '../fixtures/must-block.ts'
import { openNames } from '../fixtures/open-names.ts'

/** What the first of two records says; the second is always the same, so the file always ends in the same bytes. */
type Said = 'one' | 'two' | 'six'

interface Store {
  /** Another content of the same length. */
  text(said: Said): string
  open(path: string): { said(): Promise<unknown>; change(): unknown; close(): Promise<void> }
}

const END = 'the same end of whatever there is, more than enough to be compared'

const json = (said: Said) => JSON.stringify({ said, end: END })

const low = (options: { journal?: boolean }): Store => ({
  text: json,
  open: (path) => {
    const db = new LockedLow<{ said?: string; n?: number }>(new JSONFile(path), {}, options)
    return {
      said: async () => {
        await db.read()
        return db.data.said
      },
      change: () => db.update((data) => (data.n = (data.n ?? 0) + 1)),
      close: () => db.close(),
    }
  },
})

const STORES: Record<string, Store> = {
  nedb: {
    text: (said) => `{"_id":"1","said":"${said}"}\n{"_id":"2","end":"${END}"}\n`,
    open: (path) => {
      const db = new LockedNedb({ filename: path })
      const loaded = db.loadDatabaseAsync()
      return {
        said: async () => {
          await loaded
          return (await db.findOneAsync<{ said: string }>({ _id: '1' }))?.said
        },
        change: () => db.insertAsync({ _id: '3' }),
        close: () => db.close(),
      }
    },
  },
  lowdb: low({}),
  'lowdb with a journal': low({ journal: true }),
  'lowdb, blocking': {
    text: json,
    open: (path) => {
      const db = new LockedLowSync<{ said?: string; n?: number }>(new JSONFileSync(path), {})
      return {
        said: async () => {
          db.read()
          return db.data.said
        },
        change: () => db.update((data) => (data.n = (data.n ?? 0) + 1)),
        close: () => db.close(),
      }
    },
  },
}

/** What others may do to a file while nobody has it open. */
const CHANGES: Record<string, (path: string, text: string) => void> = {
  'rewritten in place': (path, text) => writeFileSync(path, text),
  'replaced by a rename': (path, text) => {
    writeFileSync(`${path}.new`, text)
    renameSync(`${path}.new`, path)
  },
  'removed, and made anew with the same inode number': remake,
}

function remake(path: string, text: string): void {
  const { ino } = statSync(path)
  unlinkSync(path)
  for (let i = 0; ; i++) {
    writeFileSync(`${path}.${i}`, text)
    // Some file systems never give a number again.
    if (statSync(`${path}.${i}`).ino !== ino && i < 20) continue
    renameSync(`${path}.${i}`, path)
    break
  }
}

describe('files that are not in use', () => {
  const crew = useCrew()
  const at = useFolder()

  for (const [name, { text, open }] of Object.entries(STORES)) {
    for (const [what, change] of Object.entries(CHANGES)) {
      it(`${name}: what was ${what} while it was closed is seen, also with the same size and time`, async () => {
        const path = at('data')
        writeFileSync(path, text('one'))
        // Else the file is as young as everything that happens to it.
        await sleep(40)
        const store = open(path)
        assert.equal(await store.said(), 'one')
        for (const said of ['two', 'six', 'one'] as const) {
          closeIdleFiles()
          assert.deepEqual(openNames(at()), [])
          const { atime, mtime } = statSync(path)
          change(path, text(said))
          utimesSync(path, atime, mtime)
          assert.equal(await store.said(), said)
        }
        await store.close()
      })
    }

    it(`${name}: closed and opened again, it goes on where it was`, async () => {
      const path = at('data')
      writeFileSync(path, text('one'))
      const [one, other] = [open(path), open(path)]
      await one.change()
      for (let i = 0; i < 3; i++) {
        closeIdleFiles()
        assert.equal(await one.said(), 'one')
        assert.equal(await other.said(), 'one')
      }
      closeIdleFiles()
      await other.close()
      await one.close()
      assert.match(readFileSync(path, 'utf8'), name === 'nedb' ? /"_id":"3"/ : /"n": 1/)
      assert.deepEqual(openNames(at()), [])
    })
  }

  it('are closed after some seconds, of all kinds; what is held stays open', async () => {
    const stores = Object.entries(STORES).map(([name, { open }]) => open(at(name)))
    for (const store of stores) await store.change()
    const lock = new PsLock(at('waited for'))
    const held = await lock.acquire()
    // Whoever waits leaves a file behind for the line of those who do.
    const mate = await crew.process()
    const wait = mate.call('acquire', at('waited for'))
    await mustBlock('the mate', wait, { seen: waitsThere(mate, at('waited for')) })
    held.release()
    await wait
    await mate.call('release')
    await lock.exclusive(() => {})
    const other = await new PsLock(at('held')).acquire()
    assert.ok(openNames(at()).length > 8, String(openNames(at())))
    await sleep(3300)
    assert.deepEqual(openNames(at()), ['held.lock'])
    assert.deepEqual(await mate.call('openNames', at()), [])
    other.release()
    for (const store of stores) await store.said()
    for (const store of stores) await store.close()
    await lock.close()
    await sleep(3300)
    assert.deepEqual(openNames(at()), [])
  })

  it('a log that others have added to meanwhile is read from there on, not from its beginning', async () => {
    const file = new LogFile(at('log'), 0o600, false)
    writeFileSync(at('log'), 'one\n')
    await sleep(40)
    assert.equal((await file.news('shared')).kind, 'replaced')
    file.apply(Buffer.from('one\n'), 'replaced', 4)
    file.unlockData()
    for (const line of [`${END}\n`, `${END}\n`]) {
      closeIdleFiles()
      appendFileSync(at('log'), line)
      const news = await file.news('shared')
      assert.deepEqual(news, { kind: 'tail', bytes: Buffer.from(line) })
      file.apply(Buffer.from(line), 'tail', line.length)
      file.unlockData()
    }
    // The same number, longer, and the end of what is known at its place.
    closeIdleFiles()
    remake(at('log'), `six\n${END}\n${END}\n${END}\n`)
    assert.equal((await file.news('shared')).kind, 'replaced')
    file.close()
  })

  it('a log that was edited after a change of our own, while it was closed, is read anew', async () => {
    const file = new LogFile(at('log'), 0o600, false)
    await file.news('exclusive')
    file.create()
    const line = Buffer.from(`one ${END}\n`)
    await file.append(line)
    file.appended(line, line.length, line.length)
    file.unlockData()
    closeIdleFiles()
    writeFileSync(at('log'), `two ${END}\n`)
    assert.equal((await file.news('shared')).kind, 'replaced')
    file.close()
  })

  it("a log stays open until what was written with durability 'disk' is synced", async () => {
    const file = new LogFile(at('log'), 0o600, true)
    await file.news('exclusive')
    file.create()
    const line = Buffer.from('one\n')
    await file.append(line)
    file.appended(line, 4, 4)
    file.unlockData()
    closeIdleFiles()
    assert.deepEqual(openNames(at()), ['log'])
    await file.syncNow()
    closeIdleFiles()
    assert.deepEqual(openNames(at()), [])
    rmSync(at('log'))
  })
})
