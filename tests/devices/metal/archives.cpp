// Machine code on disk: found by the next process, useless to another driver, never a failure.
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "devices/kernel_store.h"
#include "rig.h"

namespace {

namespace fs = std::filesystem;

// A store in a folder of its own, empty at first.
struct Folder {
  Folder() {
    path = fs::temp_directory_path() / ("lamina_archives_" + std::to_string(getpid()));
    fs::remove_all(path);
    setenv("LAMINA_CACHE_DIR", path.c_str(), 1);
  }
  ~Folder() { fs::remove_all(path); }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    if (fs::exists(path / "metal"))
      for (const auto& e : fs::directory_iterator(path / "metal")) out.push_back(e.path());
    return out;
  }
  fs::path path;
};

// A process: what it compiled, what it found, and whether its kernel works.
struct Process {
  explicit Process(const Machine& machine = {}, const std::string& target = "macOS 15") {
    Rig rig(machine);
    KernelStore store("metal");
    rig.pipelines = std::make_unique<Pipelines>(*rig.host, &store, target);
    float *a = rig.array(64, 1), *b = rig.array(64);
    rig.queue->wait(rig.scale(b, a, 2, 64));
    EQUAL(b[63], 2.0f);
    found = rig.pipelines->pipelines_found();
    std::lock_guard lock(world().mutex);
    compiled = world().seen.pipeline_compilations;
  }
  int64_t found, compiled;
};

}  // namespace

TEST(machine_code_is_compiled_once_and_found_by_the_next_process) {
  Folder folder;
  const Process first;
  EQUAL(first.compiled, 1);
  EQUAL(first.found, 0);
  EQUAL(folder.files().size(), 1u);
  const Process second;
  EQUAL(second.compiled, 0);
  EQUAL(second.found, 1);
}

TEST(machine_code_of_another_target_is_not_looked_at) {
  Folder folder;
  Process first({}, "macOS 15.5 (24F74) applegpu_g14s");
  const Process second({}, "macOS 15.6 (24G84) applegpu_g14s");
  EQUAL(second.compiled, 1);
  EQUAL(second.found, 0);
  EQUAL(folder.files().size(), 2u);
}

TEST(an_archive_that_the_driver_refuses_is_replaced) {
  Folder folder;
  Process first;
  Machine machine;
  machine.os_build = "24G84";  // with the same name: as if the driver alone had changed
  const Process second(machine);
  EQUAL(second.found, 0);
  EQUAL(second.compiled, 1);
  const Process third(machine);
  EQUAL(third.found, 1);
  EQUAL(folder.files().size(), 1u);
}

TEST(a_damaged_archive_counts_as_absent) {
  Folder folder;
  Process first;
  std::ofstream(folder.files().at(0)) << "nothing of worth";
  const Process second;
  EQUAL(second.found, 0);
  EQUAL(second.compiled, 1);
  std::ofstream(folder.files().at(0)) << "archive of driver 24F74\n";  // without the pipeline
  const Process third;
  EQUAL(third.found, 0);
  EQUAL(third.compiled, 1);
  EQUAL(Process().found, 1);
}

TEST(without_archives_or_without_a_disk_pipelines_are_compiled) {
  Folder folder;
  {
    Rig rig;
    KernelStore store("metal");
    Pipelines pipelines(*rig.host, &store, "here");
    inject(Point::archive, {0, 1});
    CHECK(pipelines.get(source_of("scale"), "scale") != nullptr);
    CHECK(folder.files().empty());
  }
  std::ofstream(folder.path) << "a file where the folder should be";
  const Process second;
  EQUAL(second.compiled, 1);
  setenv("LAMINA_CACHE_DIR", "", 1);
  const Process off;
  EQUAL(off.compiled, 1);
}
