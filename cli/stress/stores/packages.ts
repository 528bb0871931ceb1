import { existsSync } from 'node:fs'
import type { StoreName } from '../options.ts'

/** Which package each store is. */
const PACKAGES: Record<StoreName, string> = {
  nedb: '@seald-io/nedb',
  'nedb-promises': 'nedb-promises',
  lowdb: 'lowdb',
}

/** The package that would have to be installed for a store; undefined where there is one. Loads nothing. */
export function missingPackage(store: StoreName): string | undefined {
  if (!isInstalled(PACKAGES[store])) return PACKAGES[store]
  // Versions before 5, which many projects still have, are other libraries of the same name.
  return store === 'lowdb' && !isInstalled('lowdb/node') ? 'lowdb@7' : undefined
}

/** In one line, with what to type: pslock too, for under npx it may be nowhere but in a cache of npm's. */
export function missingText(store: StoreName, name: string): string {
  return `the store ${store} needs the package ${name}, which is not installed: npm install ${name} pslock`
}

function isInstalled(name: string): boolean {
  try {
    // The path of a module in a package without `exports` is not looked at.
    return existsSync(new URL(import.meta.resolve(name)))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') return false
    throw error
  }
}
