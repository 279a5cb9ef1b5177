//! The items of the configuration file, made what the file says, at start.

use super::{CREATED_TOGETHER_MAX, Control, Staged, collides, is_device, name_of};
use crate::config::{Config, ConfigError};
use crate::ids::AccountId;
use crate::registry::{NextIds, reconcile, rehearse};
use crate::store::Store;
use std::collections::HashSet;

impl Control {
    /// Carries out what the file asks for; gives back how many items were written. What stands
    /// against it is told all at once, under the file's paths, and then nothing is written.
    pub fn declare(&self, config: &Config) -> Result<usize, Vec<ConfigError>> {
        let store = self.writer();
        let failed = |error: &dyn std::fmt::Display| vec![ConfigError::new("", error.to_string())];
        let ids = NextIds::of(&store).map_err(|error| failed(&error))?;
        let plan = reconcile(config, &self.registry, ids, self.clock.now_us())?;
        let mut refusals = rehearse(&store, &plan).map_err(|error| failed(&error))?;
        refusals.extend(plan.iter().filter_map(|planned| {
            let before = self.registry.item(planned.write.id());
            let problem = self.tls_problem(&planned.write, before.as_ref())?;
            Some(ConfigError::new(format!("{}.tls", planned.path), problem))
        }));
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let count = plan.len();
        let mut paths = Vec::with_capacity(count);
        let mut mistakes = Vec::new();
        let mut staged: Vec<Staged> = Vec::new();
        let mut names = HashSet::new();
        for (at, planned) in plan.into_iter().enumerate() {
            paths.push(planned.path);
            let alone = !is_device(&planned.write);
            if alone || staged.len() >= CREATED_TOGETHER_MAX || collides(&names, &planned.write) {
                self.flush_declared(&store, &mut staged, &paths, &mut mistakes);
                names.clear();
            }
            match self.registry.check(&planned.write, AccountId::NONE) {
                Ok(effect) => {
                    names.extend(name_of(&planned.write));
                    staged.push(Staged {
                        at,
                        write: planned.write,
                        effect,
                    });
                }
                Err(refused) => {
                    mistakes.push(ConfigError::new(path(&paths, at), refused.to_string()));
                }
            }
            if alone {
                self.flush_declared(&store, &mut staged, &paths, &mut mistakes);
            }
        }
        self.flush_declared(&store, &mut staged, &paths, &mut mistakes);
        drop(store);
        if mistakes.is_empty() {
            Ok(count)
        } else {
            Err(mistakes)
        }
    }

    fn flush_declared(
        &self,
        store: &Store,
        staged: &mut Vec<Staged>,
        paths: &[String],
        mistakes: &mut Vec<ConfigError>,
    ) {
        let mut results = Vec::new();
        results.resize_with(paths.len(), || None);
        self.flush(store, staged, &mut results);
        for (at, result) in results.into_iter().enumerate() {
            if let Some(Err(error)) = result {
                mistakes.push(ConfigError::new(path(paths, at), error.to_string()));
            }
        }
    }
}

fn path(paths: &[String], at: usize) -> String {
    paths.get(at).cloned().unwrap_or_default()
}
