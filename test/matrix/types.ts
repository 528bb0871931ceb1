// Compiled, not run: what people write, under every `moduleResolution`.
import { type ImageAdapter, LockedDb, LockTimeoutError, PsLock, type PsLockOptions } from 'pslock'
import { LockedJSONFilePreset, LockedLow } from 'pslock/lowdb'
import { LockedNedb } from 'pslock/nedb'
import { LockedDatastore } from 'pslock/nedb-promises'

interface User {
  _id: string
  name: string
}

declare const shelf: { all(): string[] }
declare const shelfAdapter: ImageAdapter<typeof shelf>

export async function main(options: PsLockOptions): Promise<number> {
  const lock = new PsLock('data', options)
  const five: number = await lock.exclusive(async () => 5)
  const db = new LockedNedb<User>({ filename: 'users.db', autoload: true, compaction: 'manual' })
  const user: User = await db.findOneAsync({ _id: 'a' })
  const [inserted] = await db.insertAsync([{ _id: 'b', name: user.name }])
  const datastore = LockedDatastore.create<User>('users.db')
  const names: string[] = (await datastore.find({})).map(({ name }) => name)
  const low = new LockedLow<{ posts: string[] }>('db.json', { posts: [] })
  await low.update(({ posts }) => {
    posts.push(...names, inserted?.name ?? '')
  })
  const preset = await LockedJSONFilePreset('db.json', { posts: [] as string[] })
  const generic = new LockedDb(shelf, { adapter: shelfAdapter, path: 'shelf' })
  const all: string[] = await generic.all()
  await generic.close()
  try {
    await lock.close()
  } catch (error) {
    if (error instanceof LockTimeoutError) return error.waitedMs
  }
  // @ts-expect-error there is no such option
  new PsLock('data', { timeout: 5 })
  return five + all.length + preset.data.posts.length
}
