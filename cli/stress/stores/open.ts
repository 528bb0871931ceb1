import type { StoreName } from '../options.ts'
import type { Subject, SubjectOptions } from './subject.ts'

interface SubjectModule {
  open(options: SubjectOptions): Promise<Subject>
}

const MODULES: Record<StoreName, () => Promise<SubjectModule>> = {
  nedb: () => import('./nedb.ts'),
  'nedb-promises': () => import('./nedb-promises.ts'),
  lowdb: () => import('./lowdb.ts'),
}

/** Opens the store. Only its own library is loaded: the stores are optional dependencies. */
export async function openSubject(store: StoreName, options: SubjectOptions): Promise<Subject> {
  const { open } = await MODULES[store]()
  return open(options)
}
