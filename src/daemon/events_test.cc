#include "daemon/events.h"

#include <gtest/gtest.h>

#include "daemon/metrics.h"

namespace loopfs::daemon {
namespace {

TEST(Events, EachReaderHasAllInOrder) {
  Events events;
  const auto first = events.follow(), second = events.follow();
  events.emit({.what = "add", .instance = 1, .device = 0});
  events.emit({.what = "bind", .instance = 1, .device = 0, .kernel_device = 100000});
  for (const auto& reader : {first, second}) {
    const auto add = reader->next(std::chrono::seconds(1)), bind = reader->next(std::chrono::seconds(1));
    ASSERT_TRUE(add && bind);
    EXPECT_EQ(add->what, "add");
    EXPECT_EQ(bind->kernel_device, 100000u);
    EXPECT_LE(add->microseconds, bind->microseconds);
    EXPECT_FALSE(reader->next(std::chrono::milliseconds(1)));
  }
}

TEST(Events, AReaderThatDoesNotReadIsToldWhatItLost) {
  Events events;
  const auto reader = events.follow();
  for (int i = 0; i < 3000; ++i) events.emit({.what = "add"});
  uint64_t read = 0, lost = 0;
  while (reader->next(std::chrono::milliseconds(0))) ++read;
  events.emit({.what = "remove"});
  if (const auto event = reader->next(std::chrono::seconds(1))) lost = event->lost;
  EXPECT_EQ(read + lost, 3000u);
  EXPECT_GT(lost, 0u);
}

TEST(Metrics, AsPrometheusReadsThem) {
  const std::string text = format_metrics({.instances = 2, .bound = 5});
  EXPECT_NE(text.find("# TYPE loopfs_instances gauge\nloopfs_instances 2\n"), std::string::npos);
  EXPECT_NE(text.find("loopfs_devices_bound 5\n"), std::string::npos);
}

}  // namespace
}  // namespace loopfs::daemon
